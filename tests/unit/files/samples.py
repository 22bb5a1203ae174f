"""Small files, written by hand in the documented shape of each format, and their trades.

Each expected trade is symbol, price, size, time (UTC), id and excludes, as a person reads the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from marketdata.wire.market_data_pb2 import EXCLUDE_VOLUME

NO_VOLUME = int(EXCLUDE_VOLUME)


class Sample(NamedTuple):
    format: str
    name: str
    text: str
    trades: list[tuple[str, str, str, str, str, int]]
    options: Mapping[str, str] = MappingProxyType({})


SAMPLES = [
    Sample(
        "binance",
        "BTCUSDT-trades-2025-01-01.csv",
        "1001,65000.10000000,0.46700000,30355.0467,1735689600519000,True,True\n"
        "1002,65001.20000000,27.00000000,1755032.4,1735689600519001,False,True\n",
        [
            ("BTCUSDT", "65000.1", "0.467", "2025-01-01T00:00:00.519000", "1001", 0),
            ("BTCUSDT", "65001.2", "27", "2025-01-01T00:00:00.519001", "1002", 0),
        ],
    ),
    Sample(
        "binance",
        "ETHBTC-aggTrades-2024-12-31.csv",
        "501,0.03567000,1.20000000,9001,9003,1735603200010,False,True\n",
        [("ETHBTC", "0.03567", "1.2", "2024-12-31T00:00:00.010", "a501", 0)],
    ),
    Sample(
        "binance-futures",
        "BTCUSDT-trades-2025-01.csv",
        "id,price,qty,quote_qty,time,is_buyer_maker\n"
        "5779,93500.1,0.002,187.0002,1735689600044,true\n",
        [("BTCUSDT", "93500.1", "0.002", "2025-01-01T00:00:00.044", "5779", 0)],
    ),
    Sample(
        "binance-futures",
        "BTCUSDT-aggTrades-2025-01.csv",
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
        "2744,93500.1,0.010,636,637,1735689600044,false\n",
        [("BTCUSDT", "93500.1", "0.01", "2025-01-01T00:00:00.044", "a2744", 0)],
    ),
    Sample(
        "kraken",
        "XBTUSD.csv",
        "1381095255,122.00000,0.10000000\n1381179030.25,123.61000,1E+6\n",
        [
            ("XBTUSD", "122", "0.1", "2013-10-06T21:34:15", "", 0),
            ("XBTUSD", "123.61", "1000000", "2013-10-07T20:50:30.250", "", 0),
        ],
    ),
    Sample(
        "bitstamp",
        "bitstampUSD.csv",
        "1315922016,5.800000000000,1.000000000000\n1315922029,5.830000000000,2.990000000000\n",
        [
            ("BTCUSD", "5.8", "1", "2011-09-13T13:53:36", "", 0),
            ("BTCUSD", "5.83", "2.99", "2011-09-13T13:53:49", "", 0),
        ],
    ),
    Sample(
        "bitstamp",
        "transactions.csv",
        "date,tid,price,type,amount\n1735689600,371520101,93456.12,0,0.00210000\n",
        [("BTCUSD", "93456.12", "0.0021", "2025-01-01T00:00:00", "371520101", 0)],
        {"symbol": "BTCUSD"},
    ),
    Sample(
        "dukascopy",
        "EURUSD_Ticks_2025.01.03_2025.01.03.csv",
        "Time (EET),Ask,Bid,AskVolume,BidVolume\n"
        "2025.01.03 00:00:00.123,1.02701,1.02698,1.35,0.9\n",
        [("EURUSD", "1.02698", "0.9", "2025-01-02T22:00:00.123", "", 0)],
    ),
    Sample(
        "dukascopy",
        "EURUSD_Ticks_03.01.2025-03.01.2025.csv",
        "Gmt time,Ask,Bid,AskVolume,BidVolume\n03.01.2025 00:00:00.123,1.02701,1.02698,1.35,0.9\n",
        [("EURUSD", "1.02698", "0.9", "2025-01-03T00:00:00.123", "", 0)],
    ),
    Sample(
        "dukascopy",
        "eurusd-tick-2025-01-03-2025-01-04.csv",
        "timestamp,askPrice,bidPrice,askVolume,bidVolume\n1735862400123,1.02701,1.02698,1.35,0.9\n",
        [("EURUSD", "1.02698", "0.9", "2025-01-03T00:00:00.123", "", 0)],
    ),
    Sample(
        "truefx",
        "EURUSD-2025-01.csv",
        "EUR/USD,20250103 00:00:00.054,1.02656,1.02659\n",
        [("EUR/USD", "1.02656", "0", "2025-01-03T00:00:00.054", "", NO_VOLUME)],
    ),
    Sample(
        "lobster",
        "AAPL_2012-06-21_34200000_57600000_message_10.csv",
        "34200.004241176,1,16113575,18,5853300,1\n"
        "34200.025551909,4,16120456,18,5859100,-1\n"
        "34200.189607670,5,0,100,5857350,1\n"
        "34200.201742512,3,16120456,18,5859100,-1\n",
        [
            ("AAPL", "585.91", "18", "2012-06-21T13:30:00.025551909", "", 0),
            ("AAPL", "585.735", "100", "2012-06-21T13:30:00.189607670", "", 0),
        ],
    ),
    Sample(
        "taq",
        "EQY_US_ALL_TRADE_20180102.gz",
        "Time|Exchange|Symbol|Sale Condition|Trade Volume|Trade Price|Trade Stop Stock Indicator|"
        "Trade Correction Indicator|Sequence Number|Trade Id|Source of Trade|"
        "Trade Reporting Facility|Participant Timestamp|"
        "Trade Reporting Facility TRF Timestamp|Trade Through Exempt Indicator\n"
        "093000123456789|N|IBM|@  O|1200|154.5||00|1001|7|C||093000123000000||0\n"
        "093001000000000|D|AAPL|@  I|12|170.16||00|1002|8|N|Q|093000900000000|093000950000000|1\n"
        "093002000000000|D|AAPL|@ W |300|170.001||00|1003|9|N|Q|093001900000000|||1\n".replace(
            "|||1\n", "||1\n"
        )
        + "093003000000000|N|IBM|@   |100|154.6||08|1004|10|C||093003000000000||0\n"
        "END|20180102|4||||||||||||\n",
        [
            ("IBM", "154.5", "1200", "2018-01-02T14:30:00.123456789", "20180102:N:7", 0),
            ("AAPL", "170.16", "12", "2018-01-02T14:30:01", "20180102:D:8", 7),
            ("AAPL", "170.001", "300", "2018-01-02T14:30:02", "20180102:D:9", 7),
        ],
    ),
    Sample(
        "databento",
        "xnas-itch-20250103.trades.csv",
        "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,"
        "ts_in_delta,sequence,symbol\n"
        "1735914600001000100,1735914600000900200,0,2,38,T,B,0,243250000000,25,130,165200,7001,AAPL\n"
        "1735914600001000300,1735914600000900400,0,2,38,T,A,0,243.240000000,10,130,165200,7002,AAPL\n",
        [
            ("AAPL", "243.25", "25", "2025-01-03T14:30:00.000900200", "", 0),
            ("AAPL", "243.24", "10", "2025-01-03T14:30:00.000900400", "", 0),
        ],
    ),
    Sample(
        "generic",
        "own.csv",
        "symbol,price,volume,exchange_timestamp\n"
        "BTC-USDT,11343.67,0.467,2020-08-01T02:00:00.519Z\n"
        "BTC-USDT,11343.20,27.00000000,2020-08-01 04:00:00.519+02:00\n",
        [
            ("BTC-USDT", "11343.67", "0.467", "2020-08-01T02:00:00.519", "", 0),
            ("BTC-USDT", "11343.2", "27", "2020-08-01T02:00:00.519", "", 0),
        ],
    ),
    Sample(
        "generic",
        "two-columns.csv",
        "Date;Time;Ticker;Price;Quantity\n"
        "03/25/2025;09:30:00.5;SAP;240,25;1,5\n25/03/2025;x;SAP;240,5;1\n".replace(
            "25/03/2025;x;SAP;240,5;1\n", "03/26/2025;09:30:01;SAP;240,5;10\n"
        ),
        [
            ("SAP", "240.25", "1.5", "2025-03-25T08:30:00.5", "", 0),
            ("SAP", "240.5", "10", "2025-03-26T08:30:01", "", 0),
        ],
        {"zone": "Europe/Berlin"},
    ),
    Sample(
        "generic",
        "bare.txt",
        "SAP\t240.25\t10\t1735914600.5\n",
        [("SAP", "240.25", "10", "2025-01-03T14:30:00.5", "", 0)],
        {"columns": "symbol=1,price=2,size=3,time=4"},
    ),
]


def to_ns(text: str) -> int:
    """Return a time in UTC in nanoseconds, by the standard library and decimals alone."""
    whole, _, fraction = text.partition(".")
    seconds = datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return int(Decimal(int(seconds)).scaleb(9) + Decimal(f"0.{fraction or 0}").scaleb(9))
