"""The agent `opencode`: OpenCode plans and builds in one session, behind a server of its own in the sandbox.

``agent``         what the pipeline calls
``asked``         what a task asks of it, checked at intake
``operator``      the operator's configuration and credentials, read on the host
``providers``     which hosts a provider of models is reached at
``seeds``         what of both a sandbox gets, and that it is taken away again
``server``        OpenCode's server in a sandbox: started, asked, ended
``client``        HTTP with it
``conversation``  one prompt through the server, to its end
``single``        one prompt without a server, where a sandbox has no services
``told``          one line of what OpenCode tells, as a value; ``lines`` cuts bytes into lines
``hearing``       keeps and shows what is told
``evidence``      what was told, as far as it decides
``judgement``     success or the problem with its code; ``refusals`` reads a provider's error, ``resets`` its times
``prompts``       what OpenCode is asked
"""
