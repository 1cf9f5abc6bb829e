"""Sandboxes: where an attempt's commands run.

``local``         processes of this host, softened by bubblewrap where it works
``hostile_files``   takes files out of folders that an agent may write
``archive``       a whole workspace as a tar, the same way
"""
