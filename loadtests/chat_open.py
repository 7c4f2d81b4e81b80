"""Streamed chat, open model: requests arrive by a schedule and wait for no answer.

``locust -f loadtests/chat_open.py --host http://127.0.0.1:8080/v1 --rate 20`` shows Locust's page;
``--headless -t 30s --samples DIR`` runs without it and keeps every sample. One user of Locust's is
the whole crowd: the rate, not the number of users, is the load.
"""

from gateproof.loadtests.rig import rig, serve
from locust import User, constant, task

serve("chat-open", open_model=True)


class Crowd(User):
    """Lets requests arrive until the test stops."""

    fixed_count = 1
    wait_time = constant(0.2)

    @task
    def arrive(self) -> None:
        """Follow the schedule."""
        rig().arrive()
