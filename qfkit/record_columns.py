"""The columns of each frame of records: by name, the record's attribute and the column's dtype."""

from qfkit.core.assessment import RiskAssessment

__all__ = [
    "ASSESSMENTS",
    "CHECKS",
    "FILLS",
    "FINANCING",
    "ID",
    "MARGIN_CALLS",
    "NUMBER",
    "OPTIONAL_ID",
    "ORDERS",
    "SIGNALS",
    "SPAN",
    "STOPS",
    "TEXT",
    "TIME",
    "TRADES",
    "TRANSFERS",
    "TRUTH",
]

TIME = "datetime64[ns, UTC]"
SPAN = "timedelta64[ns]"
TEXT = "str"
NUMBER = "float64"
ID = "int64"
TRUTH = "bool"
OPTIONAL_ID = "Int64"


STOPS = {
    "strategy": ("strategy", TEXT),
    "stop": ("kind", TEXT),
    "change": ("change", TEXT),
    "why": ("why", TEXT),
    "limit_name": ("limit_name", TEXT),
    "value": ("value", NUMBER),
    "limit": ("bound", NUMBER),
}

MARGIN_CALLS = {
    "strategy": ("strategy", TEXT),
    "kind": ("kind", TEXT),
    "equity": ("equity", NUMBER),
    "required": ("required", NUMBER),
    "owed": ("owed", NUMBER),
    "done": ("done", TEXT),
}

FINANCING = {
    "strategy": ("strategy", TEXT),
    "kind": ("kind", TEXT),
    "symbol": ("symbol", TEXT),
    "balance": ("balance", NUMBER),
    "rate": ("rate", NUMBER),
    "nights": ("nights", ID),
    "amount": ("amount", NUMBER),
}

ORDERS = {
    "order_id": ("order_id", ID),
    "symbol": ("symbol", TEXT),
    "side": ("side", TEXT),
    "type": ("type", TEXT),
    "quantity": ("quantity", NUMBER),
    "filled": ("filled", NUMBER),
    "limit_price": ("limit_price", NUMBER),
    "stop_price": ("stop_price", NUMBER),
    "status": ("status", TEXT),
    "strategy": ("strategy", TEXT),
    "reason": ("reason", TEXT),
    "decided": ("decided_ns", TIME),
    "sent": ("sent_ns", TIME),
    "average_price": ("average_price", NUMBER),
    "status_reason": ("status_reason", TEXT),
    "time_in_force": ("time_in_force", TEXT),
    "updated": ("updated_ns", TIME),
    "signal_id": ("signal_id", OPTIONAL_ID),
    "parent_id": ("parent_id", OPTIONAL_ID),
}

FILLS = {
    "symbol": ("symbol", TEXT),
    "side": ("side", TEXT),
    "quantity": ("quantity", NUMBER),
    "price": ("price", NUMBER),
    "fee": ("fee", NUMBER),
    "order_id": ("order_id", ID),
    "strategy": ("strategy", TEXT),
    "reason": ("reason", TEXT),
    "is_crossed": ("is_crossed", TRUTH),
    "rate": ("rate", NUMBER),
    "fill_id": ("fill_id", ID),
}

CHECKS = {
    "signal_id": ("signal_id", ID),
    "symbol": ("symbol", TEXT),
    "action": ("action", TEXT),
    "wanted": ("wanted", NUMBER),
    "check": ("check", TEXT),
    "value": ("value", NUMBER),
    "limit": ("limit", NUMBER),
    "allowed": ("allowed", NUMBER),
    "passed": ("passed", TRUTH),
    "strategy": ("strategy", TEXT),
}

SIGNALS = {
    "signal_id": ("signal_id", ID),
    "symbol": ("symbol", TEXT),
    "action": ("action", TEXT),
    "wanted": ("wanted", NUMBER),
    "decision": ("decision", TEXT),
    "decision_check": ("decision_check", TEXT),
    "decision_reason": ("decision_reason", TEXT),
    "order_id": ("order_id", OPTIONAL_ID),
    "strategy": ("strategy", TEXT),
    "reason": ("reason", TEXT),
}

ASSESSMENTS = {
    name: (name, TEXT if name in ("level", "reasons", "largest_symbol") else ID if name == "returns" else NUMBER)
    for name in RiskAssessment.__struct_fields__
    if name != "time_ns"
}
TRANSFERS = {
    "source": ("source", TEXT),
    "target": ("target", TEXT),
    "amount": ("amount", NUMBER),
}

TRADES = {
    "symbol": ("symbol", TEXT),
    "side": ("side", TEXT),
    "quantity": ("quantity", NUMBER),
    "entry_time": ("entry_time_ns", TIME),
    "exit_time": ("exit_time_ns", TIME),
    "entry_price": ("entry_price", NUMBER),
    "exit_price": ("exit_price", NUMBER),
    "fees": ("fees", NUMBER),
    "pnl": ("pnl", NUMBER),
    "return": ("return_", NUMBER),
    "strategy": ("strategy", TEXT),
    "holding_time": ("holding_ns", SPAN),
    "max_adverse_excursion": ("max_adverse_excursion", NUMBER),
    "max_favourable_excursion": ("max_favourable_excursion", NUMBER),
    "max_adverse_return": ("max_adverse_return", NUMBER),
    "max_favourable_return": ("max_favourable_return", NUMBER),
}
