package mem_test

import (
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/backendtest"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
)

func TestKeepsTheContract(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(*testing.T) backend.Backend { return mem.New() }, backendtest.Features{})
}
