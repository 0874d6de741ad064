// Package trees reads the directories of a snapshot: it walks them, checks the
// names in them and finds paths. It is shared by the restorer and whoever lists a
// backup. What a node means is theirs to decide.
//
// Names in a repository are untrusted. A name that is no plain path element
// never leaves this package: such a node is reported as an error.
package trees

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// Source loads the document of one directory.
type Source interface {
	LoadTree(ctx context.Context, id restic.ID) (*restic.Tree, error)
}

// CheckName returns an error for a name that cannot be one element of a path.
func CheckName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("refuse node name %q: it is not a plain file name", name)
	}
	return nil
}

// ErrSkipDir, returned by a function given to Walk, leaves out what lies below
// the directory it was called for.
var ErrSkipDir = errors.New("skip this directory")

// WalkFunc is called for each node with its path below the root of the
// snapshot, without a slash in front. When a name is refused or a directory
// cannot be read, err says so; the walk goes on if the function then returns
// nil.
type WalkFunc func(path string, node *restic.Node, err error) error

// Walk calls fn for each node below tree, directories before their content, in
// the order of names. It returns the first error that fn returns.
func Walk(ctx context.Context, src Source, tree restic.ID, fn WalkFunc) error {
	return walk(ctx, src, "", tree, fn)
}

// maxDepth bounds the directories within each other. A path that deep cannot
// be made on any file system, and a tree cannot contain itself: only a forged
// repository gets here.
const maxDepth = 1 << 14

func walk(ctx context.Context, src Source, dir string, id restic.ID, fn WalkFunc) error {
	if strings.Count(dir, "/") > maxDepth {
		return fmt.Errorf("walk tree %s: more than %d directories within each other", id.Short(), maxDepth)
	}
	tree, err := src.LoadTree(ctx, id)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return skipped(fn(dir, nil, err))
	}
	for i, node := range tree.Nodes {
		tree.Nodes[i] = nil // what fn does not keep can be freed
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := CheckName(node.Name); err != nil {
			if err := skipped(fn(dir, node, err)); err != nil {
				return err
			}
			continue
		}
		p := path.Join(dir, node.Name)
		err := fn(p, node, nil)
		if errors.Is(err, ErrSkipDir) {
			continue
		}
		if err != nil {
			return err
		}
		if node.Type != restic.TypeDir {
			continue
		}
		if node.Subtree == nil {
			if err := skipped(fn(p, node, fmt.Errorf("directory %q has no tree", p))); err != nil {
				return err
			}
			continue
		}
		if err := walk(ctx, src, p, *node.Subtree, fn); err != nil {
			return err
		}
	}
	return nil
}

func skipped(err error) error {
	if errors.Is(err, ErrSkipDir) {
		return nil
	}
	return err
}

// ErrNoPath says that a snapshot has nothing at a path.
var ErrNoPath = errors.New("no such path in the snapshot")

// Find returns the node at an absolute path of a snapshot, following no links.
// For the root, the node is a directory without a name. The error is ErrNoPath
// when there is nothing.
func Find(ctx context.Context, src Source, tree restic.ID, target string) (*restic.Node, error) {
	node := &restic.Node{Type: restic.TypeDir, Subtree: &tree}
	clean := strings.Trim(path.Clean("/"+target), "/")
	if clean == "" {
		return node, nil
	}
	for name := range strings.SplitSeq(clean, "/") {
		if node.Type != restic.TypeDir || node.Subtree == nil {
			return nil, fmt.Errorf("find %q: %w", target, ErrNoPath)
		}
		t, err := src.LoadTree(ctx, *node.Subtree)
		if err != nil {
			return nil, fmt.Errorf("find %q: %w", target, err)
		}
		if node = t.Find(name); node == nil {
			return nil, fmt.Errorf("find %q: %w", target, ErrNoPath)
		}
	}
	return node, nil
}
