package main

import (
	"testing"

	"github.com/millrace/millrace/examples/internal/exampletest"
)

// The payment of o3 is a second too late, the first of o4 a second too early;
// o5 is paid in two parts; o9 was never ordered.
func TestOrdersAreJoinedWithPaymentsOfTheNextFifteenMinutes(t *testing.T) {
	params := map[string]string{"orders": "testdata/orders.json", "payments": "testdata/payments.json"}
	exampletest.Prints(t, settle, params, `
		{"Order":{"ID":"o1","At":"2026-01-01T09:00:00Z"},"Cents":990}
		{"Order":{"ID":"o2","At":"2026-01-01T09:05:00Z"},"Cents":1250}
		{"Order":{"ID":"o3","At":"2026-01-01T09:04:30Z"},"Cents":0}
		{"Order":{"ID":"o4","At":"2026-01-01T09:20:00Z"},"Cents":700}
		{"Order":{"ID":"o5","At":"2026-01-01T09:40:00Z"},"Cents":300}
		{"Order":{"ID":"o5","At":"2026-01-01T09:40:00Z"},"Cents":200}`)
}
