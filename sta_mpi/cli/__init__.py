"""sta_mpi.cli"""
