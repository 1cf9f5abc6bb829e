"""The provider `docker`: containers of any engine that speaks Docker's API.

Responsible for: the engine's client and its errors, images, the container's settings, its users, its sandbox.
Not responsible for: what runs inside (``sandbox.guest``) and the way out (``sandbox.egress``).
The only place that imports ``docker``.
"""
