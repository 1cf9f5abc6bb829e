"""Sandboxes: where an attempt's commands run.

``docker``          containers of any engine that speaks Docker's API
``local``           processes of this host, softened by bubblewrap where it works
``guest``           the program that runs commands inside, and our side of its protocol
``egress``          the one way out of a sandbox's network: an allow-list, and the forwarder that holds to it
``environment``     the variables that every command starts with
``attempt_files``   the attempt's folders: made, handed over, and files put into them
``hostile_files``   takes files out of folders that an agent may write
``archive``         a whole workspace as a tar, the same way
"""
