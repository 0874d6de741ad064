package daemon

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
)

// traffic counts what goes to the stores since the start of this process.
type traffic struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	retries  *prometheus.CounterVec
}

func newTraffic() *traffic {
	return &traffic{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "envbackup_s3_requests_total", Help: "Requests to S3 destinations, by operation and how they ended.",
		}, []string{"destination", "operation", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "envbackup_s3_request_duration_seconds",
			Help:    "Time to the beginning of the answer of S3 destinations, the sending of an object included.",
			Buckets: prometheus.ExponentialBuckets(0.004, 4, 8), // 4 milliseconds to a minute
		}, []string{"operation"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "envbackup_destination_retries_total", Help: "Calls to destinations that were tried again after a failure.",
		}, []string{"destination"}),
	}
}

func (t *traffic) request(destination string, r s3.Request) {
	t.requests.WithLabelValues(destination, r.Operation, r.Result).Inc()
	t.seconds.WithLabelValues(r.Operation).Observe(r.Took.Seconds())
}

func (t *traffic) retry(destination string) { t.retries.WithLabelValues(destination).Inc() }
