"""How a person meets the session of a finished attempt: visitors, as `core.review` has them.

``terminal``     a shell in the sandbox, or the agent's own program on the person's terminal
``web``          a page in the person's browser, and waiting until they leave
``listener``     the port of the host's loopback address that leads to a port in the sandbox
``openchamber``  OpenChamber as that page, where it is installed
``kept``         a program of the host that ends with us, however we end
``browser``      opening a page without its password in any argument
"""
