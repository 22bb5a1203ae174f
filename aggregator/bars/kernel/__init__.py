"""Trades and times in, candles, bars and events out: the compiled loops of the bars.

:mod:`apply` takes trades in, :mod:`late` the late ones, :mod:`close` closes bars, :mod:`events`
notes what is to be published, :mod:`query` answers Python. All work on the :mod:`records`.
"""
