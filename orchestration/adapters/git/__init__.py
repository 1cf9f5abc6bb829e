"""Everything that taskq does with git; the only place that starts it on the host.

``environment``      the surroundings of a git process: built from nothing
``command``          HostGit, the one way to run git over repositories by their git dir
``host``             our folders, locks and own repositories on this host
``layout``           where a repository's parts lie, read as plain files
``intake``           one quick look at a repository, for `taskq add`
``refs``             resolving and moving refs by compare-and-swap
``locks``            one lock per repository
``operator_config``  what the operator's own configuration says, as values
``cache``            base histories, ours
``workspace``        the agent's side: prepare, collect, accept
``collect``          what runs in the sandbox to take the work out
``bundle``           the head of a bundle, parsed as hostile input
``archive``          a tar of a workspace, parsed as hostile input
``quarantine``       where foreign objects are judged before they reach the operator
``changes``          what commits change, entry by entry
``tree_check``       which names, links and modes are safe: pure rules
``repository``       the operator's side: publish, diff, land, preserve
``checkout``         work trees seen and moved through git dirs of our own
``worktree``         where a task's worktree is, whether it is ours, making and taking away
``publish`` ``land`` ``preserve`` ``disposal`` ``diff``  one deed each
``health``           whether this machine's git will do
``sample``           a repository made of given files
``escape``           hostile bytes made fit for a message
"""
