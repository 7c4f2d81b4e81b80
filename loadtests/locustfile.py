"""Every load scenario, for Locust: ``gateproof load`` runs this file, and so can you.

``locust -f loadtests/locustfile.py --scenario chat-steady --host http://127.0.0.1:8080/v1`` shows
Locust's page; with ``--headless --samples DIR`` it runs as the scenario says and keeps every
sample. Users of the closed model are Locust's users; in the open model one of them is the crowd.
"""

from gateproof.loadtests.serve import rig, serve
from locust import User, task

serve()


class Visitor(User):
    """A user who asks, reads the whole answer, thinks, and asks again; or the whole crowd."""

    def on_start(self) -> None:
        """Take the next place among the users."""
        self.place = rig().take_place()

    def wait_time(self) -> float:
        """Think as long as the plan says."""
        return rig().plan.think_s

    @task
    def ask(self) -> None:
        """Ask once, or let the crowd arrive."""
        rig().turn(self.place)
