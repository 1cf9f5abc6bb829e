"""The one way out of a sandbox that has no network: a forwarder on the host with an allow-list.

``egress`` is the runner's side: a unix socket, and behind it a process from the first connection on (``forwarder``).
``policy`` decides with ``hosts`` (one grammar), ``presets`` and ``addresses``; ``request`` reads what a sandbox sends,
``upstream`` connects, ``exchange`` and ``relay`` carry bytes, ``record`` keeps what was refused.
Not responsible for: how a sandbox reaches the socket.
"""
