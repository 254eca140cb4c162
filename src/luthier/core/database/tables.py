"""The tables: an index over artifacts and runs, and the append-only facts that no artifact holds.

One decision: nothing here is the only copy of a result; artifacts carry their own records, so the index
can be rebuilt, while looks, aliases, events and review decisions are append-only (an undone decision stays, with its time).
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, MetaData, String, Table, Text, UniqueConstraint

HEAD = "0002"
metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("state", String(20), nullable=False),
    Column("created", String(40), nullable=False),
    Column("finished", String(40)),
    Column("decision", String(20)),
    Column("sentence", Text),
    Column("root_key", String(64), nullable=False),
)
artifacts = Table(
    "artifacts",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("stage", String(80), nullable=False),
    Column("path", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created", String(40), nullable=False),
)
run_artifacts = Table(
    "run_artifacts",
    metadata,
    Column("run", Integer, ForeignKey("runs.number"), primary_key=True),
    Column("role", String(80), primary_key=True),
    Column("key", String(64), nullable=False),
)
aliases = Table(
    "aliases",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("key", String(64), nullable=False),
    Column("created", String(40), nullable=False),
)
looks = Table(
    "looks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rows_id", String(64), nullable=False, index=True),
    Column("what", String(64), nullable=False),
    Column("run", Integer),
    Column("reason", Text),
    Column("created", String(40), nullable=False),
    UniqueConstraint("rows_id", "what"),
)
events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", Integer),
    Column("kind", String(40), nullable=False),
    Column("body", Text, nullable=False),
    Column("created", String(40), nullable=False),
)
review_queues = Table(
    "review_queues",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("identity", String(64), nullable=False, unique=True),
    Column("body", Text, nullable=False),
    Column("created", String(40), nullable=False),
    Column("opened", String(40), nullable=False),
)
review_items = Table(
    "review_items",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("queue", Integer, ForeignKey("review_queues.number"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("place", String(200), nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("queue", "position"),
    UniqueConstraint("queue", "place"),
)
review_decisions = Table(
    "review_decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item", Integer, ForeignKey("review_items.id"), nullable=False, index=True),
    Column("reviewer", String(200), nullable=False),
    Column("action", String(20), nullable=False),
    Column("body", Text, nullable=False),
    Column("created", String(40), nullable=False),
    Column("undone", String(40)),
)
