// Alerts by rules that every subtask knows. The rules of the sample are a file
// that is read before the first transaction; a stream of rules, without
// ReadFirst, may go on changing them while the job runs.
//
//	go run ./rules --rules rules/testdata/rules.json --tx rules/testdata/tx.json
package main

import (
	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/format/json"
	"github.com/millrace/millrace/connectors/stdio"
)

type Tx struct {
	Card, Country string
	Cents         int64
}
type Rule struct {
	ID, Country string
	MaxCents    int64
}
type Alert struct {
	Rule string
	Tx   Tx
}

func main() { millrace.Main("rules", rules) }

func rules(job *millrace.Job) {
	byID := job.From("rules", files.Read(job.Param("rules", "rules/testdata/rules.json", "rules to apply"), json.Of[Rule]())).
		BroadcastState("rules-by-id", func(r Rule) string { return r.ID }).
		ReadFirst()

	job.From("tx", files.Read(job.Param("tx", "rules/testdata/tx.json", "transactions to check"), json.Of[Tx]())).
		KeyBy(func(t Tx) string { return t.Card }).
		With(byID).
		Process("match", func(op *millrace.Op[string, Tx, Alert], rules millrace.View[string, Rule]) {
			op.OnRecord(func(t Tx) error {
				for id, r := range rules.All() {
					if t.Country == r.Country && t.Cents > r.MaxCents {
						op.Emit(Alert{Rule: id, Tx: t})
					}
				}
				return nil
			})
		}).
		To("alerts", stdio.Print[Alert]())
}
