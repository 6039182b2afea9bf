"""The journal: a session's input events and all that came of them, in one SQLite file.

Each batch of events is committed in one transaction with the orders, fills and equity the
engine made of it, before any of it is shown. The file is in WAL mode, so others read it while
it is written (``pandas.read_sql``, DuckDB, ``qfkit status``). ``synchronous=NORMAL``: nothing
committed is lost when the process is killed; a power cut may lose the last moments, but leaves
a whole journal. Nothing in it is ever executed: events are msgpack, the rest is columns and JSON.

Tables: ``batches`` (the events), ``orders`` (as they stand), ``fills``, ``signals``, ``trades``,
``bars``, ``faults``, ``assessments``, ``transfers``, ``stops``, ``margin_calls``, ``financing`` (fields of the records
of those names; NaN is NULL), ``equity`` (``strategy`` is '' for the account), ``alerts`` and ``deliveries``
(what became of them), ``bad_events``, ``log`` and ``meta`` (JSON values).
"""
