"""The compiled loops of the bars: trades and times in; candles, bars and events out.

``apply`` takes trades in and ``late`` the late ones. ``close`` closes bars. ``events`` notes what
is to be published, ``encode`` writes it as bytes. ``query`` answers Python, ``restore`` goes on
after a restart. ``candle`` is the rule how a candle takes a trade in. All work on ``records``.
"""
