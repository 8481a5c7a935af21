"""A FreeBSD in memory, for drivers that run unchanged on it through the Protocol ``Host``.

``world.py`` is all there is: directory trees, pools, data sets, mounts, jails. ``host.py`` is the door to it, with the
gate that counts and strikes. Each tool is a module of functions ``(world, argv, stdin) -> Completed`` with a table
``TOOLS``; ``tools.py`` puts the tables together; ``shell.py`` is the little of sh(1) that the captures and the jails
need. ``executable.py`` is the same as processes: scripts on a PATH that share a state file.

What a tool answers is what a real FreeBSD 15.1 has answered: ``test_captures.py`` replays ``captures/``.
"""
