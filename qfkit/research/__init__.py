"""Research on history: the backtest, and strategies written as functions of price columns."""
