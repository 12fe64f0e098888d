"""Jobs for tests, in a module that another process imports quickly."""

import os
import signal
import time

from speechbias.launch.queue import Job
from speechbias.launch.settings import Settings

LOCAL = Settings("local", parallel=2, time=10)


class Counting(Job):
    """Leaves a line per time that it is done."""

    def work(self):
        with (self.folder.parent / "lines").open("a") as file:
            file.write(f"{self.folder.name}\n")
        time.sleep(0.3)
        return {}


class Dying(Job):
    """Never gets far."""

    def work(self):
        os.kill(os.getpid(), signal.SIGKILL)
