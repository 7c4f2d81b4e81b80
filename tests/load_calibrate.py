"""Calibrates the load client as a generator would, in a process for gevent."""

import json
import sys

from gevent import monkey

monkey.patch_all()

from gateproof.loadtests.calibrate import calibrate, fetch_log, running_responder  # noqa: E402
from gateproof.loadtests.responder import read_log  # noqa: E402

with running_responder() as url:
    log = len(list(read_log(fetch_log(url))))
rows = [calibrate(4, 5.0, seconds=0.4), calibrate(0, seconds=0.2), {"log": log}]
sys.stdout.write(json.dumps(rows))
