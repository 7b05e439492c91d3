"""sta_mpi.simulate"""
