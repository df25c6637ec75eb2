// Clicks with the user's profile, asked of a service.
//
//	go run ./enrich --profiles http://profiles.example/
//
// Without --profiles, files stand in for the service.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	format "github.com/millrace/millrace/connectors/format/json"
	"github.com/millrace/millrace/connectors/stdio"
)

type Click struct{ User, Page string }
type Profile struct{ Country, Plan string }
type Enriched struct {
	Click
	Profile
}

func main() { millrace.Main("enrich", enrich) }

func enrich(job *millrace.Job) {
	transport := &http.Transport{}
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir(".")))
	ask := profiles{&http.Client{Transport: transport},
		job.Param("profiles", "file:///enrich/testdata/profiles/", "address of the service, to which a user's name is added")}

	job.From("clicks", files.Read(job.Param("clicks", "enrich/testdata/clicks.json", "clicks to enrich"), format.Of[Click]())).
		Async("profile", millrace.AsyncOptions{InFlight: 200, Timeout: 2 * time.Second, Attempts: 3}, ask.add).
		To("out", stdio.Print[Enriched]())
}

type profiles struct {
	client *http.Client
	url    string
}

func (p profiles) add(ctx context.Context, c Click) (Enriched, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", p.url+c.User, nil)
	if err != nil {
		return Enriched{}, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return Enriched{}, fmt.Errorf("profile of %s: %w", c.User, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Enriched{}, fmt.Errorf("profile of %s: %s", c.User, resp.Status)
	}
	e := Enriched{Click: c}
	return e, json.NewDecoder(resp.Body).Decode(&e.Profile)
}
