"""sta_mpi.parallel"""
