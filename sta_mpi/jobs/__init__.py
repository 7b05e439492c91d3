"""sta_mpi.jobs"""
