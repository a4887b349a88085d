package schedule_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/xenbackup/xenbackup/schedule"
)

// A schedule of Xen Orchestra: at half past two, each night.
func ExampleCron_Next() {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		log.Fatal(err)
	}
	nightly, err := schedule.Parse("30 2 * * *", schedule.XO, paris)
	if err != nil {
		log.Fatal(err)
	}
	at := time.Date(2027, 3, 27, 0, 0, 0, 0, paris)
	for range 3 { // on the second night, the clock is turned from two to three
		at = nightly.Next(at)
		fmt.Println(at)
	}
	// Output:
	// 2027-03-27 02:30:00 +0100 CET
	// 2027-03-28 03:00:00 +0200 CEST
	// 2027-03-29 02:30:00 +0200 CEST
}

func ExampleParse() {
	_, err := schedule.Parse("0 3 * 12 *", schedule.XO, nil)
	fmt.Println(err)
	december, err := schedule.Parse("0 3 1 12 *", schedule.Standard, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(december.Next(time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC)))
	// Output:
	// schedule: "0 3 * 12 *": month (at character 7): 12 is not between 0 and 11
	// 2027-12-01 03:00:00 +0000 UTC
}

// A scheduler runs what is due each night, in the goroutine of its owner, and does at
// most one run for what was missed while the program or the machine did not run.
func ExampleScheduler() {
	nightly, err := schedule.Parse("30 2 * * *", schedule.XO, nil)
	if err != nil {
		log.Fatal(err)
	}
	scheduler := schedule.NewScheduler(&schedule.Options{
		// Store: schedule.NewFileStore("/var/lib/backup/schedules.json"),
	})
	err = scheduler.Set(schedule.Entry{
		ID: "nightly", When: nightly, CatchUp: 12 * time.Hour,
		Run: func(_ context.Context, fire schedule.Fire) error {
			fmt.Println(fire.Entry, "runs; by hand:", fire.Cause == schedule.ByHand)
			scheduler.Stop() // for the sake of the example
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := scheduler.RunNow("nightly"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(scheduler.Run(context.Background()))
	// Output:
	// nightly runs; by hand: true
	// <nil>
}
