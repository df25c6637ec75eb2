// Orders with the payment that came up to 15 minutes after them, or without.
//
//	go run ./settle --orders settle/testdata/orders.json --payments settle/testdata/payments.json
package main

import (
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/format/json"
	"github.com/millrace/millrace/connectors/stdio"
)

type Order struct {
	ID string
	At time.Time
}
type Payment struct {
	OrderID string
	Cents   int64
	At      time.Time
}
type Settled struct {
	Order Order
	Cents int64 // 0 when no payment came
}

func main() { millrace.Main("settle", settle) }

func settle(job *millrace.Job) {
	orders := job.From("orders", files.Read(job.Param("orders", "settle/testdata/orders.json", "orders placed"), json.Of[Order]())).
		EventTime(func(o Order) time.Time { return o.At }, time.Minute)
	payments := job.From("payments", files.Read(job.Param("payments", "settle/testdata/payments.json", "payments made"), json.Of[Payment]())).
		EventTime(func(p Payment) time.Time { return p.At }, time.Minute)

	orders.KeyBy(func(o Order) string { return o.ID }).
		IntervalJoin(payments.KeyBy(func(p Payment) string { return p.OrderID }), 0, 15*time.Minute).
		Left("settled", func(o Order, p *Payment) Settled {
			if p == nil {
				return Settled{Order: o}
			}
			return Settled{Order: o, Cents: p.Cents}
		}).
		To("out", stdio.Print[Settled](stdio.Options{JSON: true}))
}
