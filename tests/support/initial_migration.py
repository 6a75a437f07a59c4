"""Write ``errorkernel/migrations/0001_initial.py`` anew from the models: ``python -m tests.support.initial_migration``.

Each table is one operation with its indexes and constraints, tables that others refer to first, all inside one
``CreateModels``. ``makemigrations`` adds indexes and constraints as operations of their own. It depends on the last
migration of ``auth``: those after the first change the model of users, to which our models refer.
"""

import os
from collections.abc import Iterator
from graphlib import TopologicalSorter

import django
from django.apps import apps
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ModelState
from django.db.migrations.writer import MigrationWriter

from errorkernel.platform.migration_operations import CreateModels
from tests.support.paths import ROOT

FILE = ROOT / "errorkernel/migrations/0001_initial.py"


def text() -> str:
    migration = type("Migration", (migrations.Migration,), {})("0001_initial", "errorkernel")
    migration.initial = True
    migration.dependencies = MigrationLoader(None).graph.leaf_nodes("auth")
    migration.operations = [CreateModels([_create(model) for model in _in_order()])]
    return MigrationWriter(migration, include_header=False).as_string()


def _create(model: type[models.Model]) -> migrations.CreateModel:
    state = ModelState.from_model(model)
    options = {name: value for name, value in state.options.items() if value}
    return migrations.CreateModel(state.name, list(state.fields.items()), options, state.bases, state.managers)


def _in_order() -> Iterator[type[models.Model]]:
    ours = sorted(apps.get_app_config("errorkernel").get_models(), key=lambda model: model.__name__)
    sorter = TopologicalSorter({model: [of for of in _referred(model) if of in ours and of != model] for model in ours})
    yield from sorter.static_order()


def _referred(model: type[models.Model]) -> list[type[models.Model]]:
    fields = (field for field in model._meta.local_fields if isinstance(field, models.ForeignKey))
    return [field.related_model for field in fields]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "steward_site.settings")
    django.setup()
    FILE.write_text(text())
