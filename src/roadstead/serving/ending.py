"""How a worker process is told that it will be asked to stop. Beside nothing else: who starts workers imports this before metrics are."""

from __future__ import annotations

import signal
from typing import Final

ENDING: Final = signal.SIGUSR1
"""What is live ends, which the server would otherwise wait for; all else goes on."""
