"""sta_mpi.signal"""
