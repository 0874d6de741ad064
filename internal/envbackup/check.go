package envbackup

import (
	"fmt"
	"strings"
)

// The levels of work on a whole repository, beside those of one backup. Such a
// verification has no backup; it belongs to an environment at a destination.
const (
	// CheckStructure looks at every snapshot, tree and index file, and that
	// each pack is there in full length.
	CheckStructure VerifyLevel = "structure"
	// CheckData also reads every pack and opens all that is in it.
	CheckData VerifyLevel = "read-data"
	// CheckDamaged is CheckStructure and the reading of all that the damaged
	// backups need: those that are whole again are damaged no more.
	CheckDamaged VerifyLevel = "damaged"
	// RepairStructure sets aside what is known to be damaged, and RepairData
	// looks for more by reading everything; the next backup stores anew what
	// is missing then.
	RepairStructure VerifyLevel = "repair"
	RepairData      VerifyLevel = "repair-read-data"
)

// dryRun ends the level of a repair that only says what it would do.
const dryRun = "-dry-run"

// MaxShares is the largest number of shares that reading may be spread over.
const MaxShares = 1000

// CheckShare is CheckStructure and the reading of one share of the packs, part
// from 1 to of. The shares are even, and the same pack is always in the same.
func CheckShare(part, of int) VerifyLevel { return VerifyLevel(fmt.Sprintf("share %d/%d", part, of)) }

// Share returns what CheckShare was given.
func (l VerifyLevel) Share() (part, of int, ok bool) {
	rest, ok := strings.CutPrefix(string(l), "share ")
	if !ok {
		return 0, 0, false
	}
	if n, err := fmt.Sscanf(rest, "%d/%d", &part, &of); err != nil || n != 2 {
		return 0, 0, false
	}
	return part, of, of >= 1 && of <= MaxShares && part >= 1 && part <= of
}

// DryRun returns the level of a repair that changes nothing.
func (l VerifyLevel) DryRun() VerifyLevel { return l + dryRun }

// Repair reports whether it is a repair, and how it goes about it.
func (l VerifyLevel) Repair() (readData, dry, ok bool) {
	plain, dry := strings.CutSuffix(string(l), dryRun)
	switch VerifyLevel(plain) {
	case RepairStructure:
		return false, dry, true
	case RepairData:
		return true, dry, true
	default:
		return false, false, false
	}
}

// OfRepository reports whether it is work on a whole repository and not on one
// backup.
func (l VerifyLevel) OfRepository() bool {
	_, _, share := l.Share()
	_, _, repair := l.Repair()
	return share || repair || l == CheckStructure || l == CheckData || l == CheckDamaged
}
