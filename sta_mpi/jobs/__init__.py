"""One module a command; the only place where files, ranks and science meet.

Each module has `run(parameters, folder, runtime) -> JobOutcome`, called on all ranks by
`launch.launch`, and `input_files(parameters)`, which names what the fingerprint covers.
"""
