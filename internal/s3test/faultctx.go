package s3test

import "context"

type faultKey struct{}

// withFault carries the chosen fault to where the proxy sees the answer.
func withFault(ctx context.Context, fault *Fault) context.Context {
	return context.WithValue(ctx, faultKey{}, fault)
}

func faultOf(ctx context.Context) *Fault {
	fault, _ := ctx.Value(faultKey{}).(*Fault)
	return fault
}
