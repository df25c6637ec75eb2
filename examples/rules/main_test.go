package main

import (
	"testing"

	"github.com/millrace/millrace/examples/internal/exampletest"
)

// Rule any-atlantis is there twice; the latter counts.
func TestEveryTransactionMeetsTheLatestOfEveryRule(t *testing.T) {
	params := map[string]string{"rules": "testdata/rules.json", "tx": "testdata/tx.json"}
	exampletest.Prints(t, rules, params, `
		{Rule:large-ch Tx:{Card:2222 Country:CH Cents:120000}}
		{Rule:any-atlantis Tx:{Card:1111 Country:XA Cents:1}}
		{Rule:large-ch Tx:{Card:3333 Country:CH Cents:700000}}
		{Rule:very-large-ch Tx:{Card:3333 Country:CH Cents:700000}}`)
}
