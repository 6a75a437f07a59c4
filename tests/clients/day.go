// A day of an operator with the client that openapi-generator generates. ADDRESS, TOKEN: of the product.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"steward"
)

func given[T any](value *T, err error) *T {
	if err != nil {
		var told *steward.GenericOpenAPIError
		if errors.As(err, &told) {
			panic(fmt.Sprintf("%v: %s", err, told.Body()))
		}
		panic(err)
	}
	return value
}

// What the server said instead.
func refused[T any](err error) T {
	var told *steward.GenericOpenAPIError
	if !errors.As(err, &told) {
		panic(fmt.Sprintf("not refused: %v", err))
	}
	return told.Model().(T)
}

func main() {
	configuration := steward.NewConfiguration()
	configuration.Servers = steward.ServerConfigurations{{URL: os.Getenv("ADDRESS")}}
	api := steward.NewAPIClient(configuration).OperatorsAPI
	ctx := context.WithValue(context.Background(), steward.ContextAccessToken, os.Getenv("TOKEN"))

	pending, _, err := api.ListIncidents(ctx).State([]steward.State{steward.STATE_OPEN}).Execute()
	given(pending, err)
	incident := pending.Items[0]

	kill := steward.NewAnswer(steward.ACTION_KILL)
	kill.SetReason("It hangs.")
	decision, _, err := api.Decide(ctx, incident.Id).Answer(*kill).Execute()
	given(decision, err)
	_, _, err = api.Decide(ctx, incident.Id).Answer(*steward.NewAnswer(steward.ACTION_CONTINUE)).Execute()
	late := refused[steward.Decide409Response](err)

	mute := steward.NewProblemMute()
	mute.SetMore(100)
	mute.SetReason("It is known.")
	muted, _, err := api.MuteProblem(ctx, incident.Problem).ProblemMute(*mute).Execute()
	given(muted, err)

	wanted := steward.NewRuleRequest("all", "process:*", steward.RULEACTION_CONTINUE, "A test.")
	wanted.SetEnabled(true)
	_, _, err = api.AddRule(ctx).RuleRequest(*wanted).Execute()
	matched := refused[steward.AddRule409Response](err).RuleNeedsConfirmation.LastWeek.Matched
	wanted.SetConfirm(matched)
	rule, _, err := api.AddRule(ctx).RuleRequest(*wanted).Execute()
	given(rule, err)
	disabled, _, err := api.DisableRule(ctx, rule.Id).RuleReason(*steward.NewRuleReason("Enough.")).Execute()
	given(disabled, err)

	seen, after := []int64{}, int64(0)
	for {
		page, _, err := api.ListEvents(ctx).After(after).Limit(10).Execute()
		given(page, err)
		for _, event := range page.Items {
			seen = append(seen, event.Seq)
		}
		if !page.Next.IsSet() || page.Next.Get() == nil {
			break
		}
		after = *page.Next.Get()
	}

	told, err := json.Marshal(map[string]any{
		"pending": len(pending.Items),
		"decided": decision.Action,
		"winner":  late.DecidedByOther.Winner,
		"problem": muted.State,
		"matched": matched,
		"enabled": []bool{rule.Enabled, disabled.Enabled},
		"events":  seen,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(told))
}
