"""How much may be used: caps, the counters behind them, writes that wait, and what is said before it is too late."""
