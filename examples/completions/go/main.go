// Books each completion once, however often it is sent and whoever dies when.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

const book = `with new as (insert into seen (id) values ($1) on conflict do nothing returning id)
	insert into bookings (id, task, state) select id, $2, $3 from new`

func must(err error) {
	if err != nil {
		log.Fatal(err) // whoever watches over services starts it again; what was not committed is read again
	}
}

func main() {
	ctx := context.Background()
	db, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	must(err)
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Getenv("KAFKA")), kgo.ConsumerGroup("booking-go"),
		kgo.ConsumeTopics(os.Getenv("TOPIC")), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(err)
	for {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(_ string, _ int32, err error) { must(err) })
		fetches.EachRecord(func(record *kgo.Record) {
			headers := map[string]string{}
			for _, header := range record.Headers {
				headers[header.Key] = string(header.Value)
			}
			if headers["ce_type"] != "dev.milepost.completion.v1" {
				return
			}
			var completion struct{ Task, State string }
			must(json.Unmarshal(record.Value, &completion))
			_, err := db.Exec(ctx, book, headers["ce_id"], completion.Task, completion.State)
			must(err)
		})
		must(client.CommitUncommittedOffsets(ctx))
	}
}
