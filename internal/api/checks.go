package api

import (
	"context"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// checkRepository answers with the verification that does it, also when the
// same is under way already.
func (s *server) checkRepository(ctx context.Context, in *struct{ Body wire.CheckRequest }) (*made[wire.Verification], error) {
	level := envbackup.CheckStructure
	switch in.Body.Read {
	case "data":
		level = envbackup.CheckData
	case "damaged":
		level = envbackup.CheckDamaged
	}
	if in.Body.Share != "" {
		level = envbackup.VerifyLevel("share " + in.Body.Share)
		part, of, ok := level.Share()
		if !ok || in.Body.Read != "" || level != envbackup.CheckShare(part, of) {
			return nil, &envbackup.Error{
				Code: envbackup.CodeInvalid, Message: fmt.Sprintf("share %q is no part of a whole", in.Body.Share),
				Hint: fmt.Sprintf("write N/M with N from 1 to M and M at most %d, and leave read out", envbackup.MaxShares),
			}
		}
	}
	return s.enqueueCheck(ctx, "check", in.Body.Environment, in.Body.Destination, level)
}

func (s *server) repairRepository(ctx context.Context, in *struct{ Body wire.RepairRequest }) (*made[wire.Verification], error) {
	level := envbackup.RepairStructure
	if in.Body.ReadData {
		level = envbackup.RepairData
	}
	if in.Body.DryRun {
		level = level.DryRun()
	}
	return s.enqueueCheck(ctx, "repair", in.Body.Environment, in.Body.Destination, level)
}

func (s *server) enqueueCheck(ctx context.Context, verb, environment, destination string, level envbackup.VerifyLevel) (*made[wire.Verification], error) {
	env, err := s.Store.Environment(ctx, environment)
	if err != nil {
		return nil, err
	}
	dest, err := s.Store.Destination(ctx, destination)
	if err != nil {
		return nil, err
	}
	v := envbackup.Verification{Environment: env.Name, DestinationID: dest.ID, Level: level, Trigger: envbackup.TriggerManual}
	if err := s.Queue.EnqueueCheck(ctx, &v); err != nil {
		return nil, err
	}
	s.audit(ctx, verb, "repository", env.Name+" at "+dest.Name, fmt.Sprintf("%s, level %s", v.ID, level))
	return &made[wire.Verification]{Location: root + "/verifications/" + v.ID, Body: verificationDoc(v)}, nil
}
