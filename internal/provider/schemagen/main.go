// Command schemagen prints the provider's schema in the shape of "terraform
// providers schema -json", for the generator of the documentation. It needs
// neither Terraform nor a network, and shows what an older Terraform would
// leave out, such as identities.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/envbackup/terraform-provider-envbackup/internal/provider"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	document, err := document(context.Background(), provider.NewServer("dev"))
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}
