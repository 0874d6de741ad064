package repository

import (
	"context"
	"sync"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic/compact"
)

// walkConcurrency is how many trees are loaded at once. Those of one backup
// come from the cache of pack stretches; those of many backups, as a prune
// walks them, lie in many small packs that each cost a round trip.
const walkConcurrency = 16

// treeWalk visits trees in parallel, deepest first, so that the list of what
// is still to do stays short.
type treeWalk struct {
	r *Repository
	// enter is asked before a tree is loaded, one call at a time for a tree;
	// false skips it.
	enter func(id restic.ID) bool
	// kept allows trees that were read before; who looks at what the store has
	// does not.
	kept bool
	// visit gets the loaded tree, or the error of loading it. Calls run
	// concurrently. An error ends the walk.
	visit func(id restic.ID, t *restic.Tree, err error) error

	mu    sync.Mutex
	ready sync.Cond
	todo  []restic.ID
	busy  int
	err   error
}

// walkTrees visits the roots and all below them as they are in the store.
func (r *Repository) walkTrees(ctx context.Context, roots []restic.ID, enter func(restic.ID) bool, visit func(restic.ID, *restic.Tree, error) error) error {
	return r.walk(ctx, &treeWalk{r: r, enter: enter, visit: visit}, roots)
}

// walkKeptTrees does so with what is known of them from earlier.
func (r *Repository) walkKeptTrees(ctx context.Context, roots []restic.ID, enter func(restic.ID) bool, visit func(restic.ID, *restic.Tree, error) error) error {
	return r.walk(ctx, &treeWalk{r: r, enter: enter, visit: visit, kept: true}, roots)
}

func (r *Repository) walk(ctx context.Context, w *treeWalk, roots []restic.ID) error {
	w.ready.L = &w.mu
	w.push(roots)
	stop := context.AfterFunc(ctx, func() { w.fail(context.Cause(ctx)) })
	defer stop()
	var wg sync.WaitGroup
	for range walkConcurrency {
		wg.Go(func() { w.run(ctx) })
	}
	wg.Wait()
	w.mu.Lock() // a cancellation that comes now still reports itself
	defer w.mu.Unlock()
	return w.err
}

func (w *treeWalk) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.ready.Broadcast()
}

// push adds trees so that the first of ids is taken first.
func (w *treeWalk) push(ids []restic.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(ids) - 1; i >= 0; i-- {
		if w.enter(ids[i]) {
			w.todo = append(w.todo, ids[i])
		}
	}
	w.ready.Broadcast()
}

func (w *treeWalk) run(ctx context.Context) {
	for {
		w.mu.Lock()
		for len(w.todo) == 0 && w.busy > 0 && w.err == nil {
			w.ready.Wait()
		}
		if w.err != nil || len(w.todo) == 0 {
			w.mu.Unlock()
			return
		}
		id := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		w.busy++
		w.mu.Unlock()

		err := w.step(ctx, id)

		w.mu.Lock()
		w.busy--
		if w.busy == 0 {
			w.ready.Broadcast()
		}
		w.mu.Unlock()
		if err != nil {
			w.fail(err)
			return
		}
	}
}

func (w *treeWalk) step(ctx context.Context, id restic.ID) error {
	tree, err := w.load(ctx, id)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := w.visit(id, tree, err); err != nil || tree == nil {
		return err
	}
	var children []restic.ID
	for _, n := range tree.Nodes {
		if n.Subtree != nil {
			children = append(children, *n.Subtree)
		}
	}
	w.push(children)
	return nil
}

func (w *treeWalk) load(ctx context.Context, id restic.ID) (*restic.Tree, error) {
	if !w.kept {
		return w.r.LoadTree(ctx, id)
	}
	if kept, ok := w.r.keptTree(id); ok {
		if nodes, err := kept.Nodes(); err == nil {
			return &restic.Tree{Nodes: nodes}, nil
		}
	}
	tree, err := w.r.LoadTree(ctx, id)
	if err == nil && w.r.local != nil {
		if known, ok := compact.Encode(tree.Nodes); ok {
			w.r.keepLocalTree(id, known)
		}
	}
	return tree, err
}
