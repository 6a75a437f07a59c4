"""Rules on pages, for tests."""

from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from errorkernel.domain.rule_policy import RuleAction
from errorkernel.models import Rule
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes
from tests.support.rule_data import judge as judge_at
from tests.support.rule_data import wording


def judge():
    judge_at(timezone.now())


def person(name, group=None):
    user = User.objects.create_user(name)
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


def client_of(name, group=None):
    client = Client()
    client.force_login(person(name, group))
    return client


def made(condition="node:ship*", action=RuleAction.CONTINUE, **given) -> Rule:
    return changes.add(wording(condition, action, **given), actor=Actor("user:alice", timezone.now()))


def form(**given):
    usual = {
        "name": "go on", "condition": "node:ship*", "action": "continue", "reason": "known", "expires_at": "",
        "max_uses": "", "storm_limit": "50", "loop_limit": "5", "since": "7", "enabled": "on",
    }  # fmt: skip
    return usual | given


NEW = "/rules/new/"
ADD = "/rules/add/"
DRY_RUN = "/rules/dry-run/"
