"""sta_mpi.align"""
