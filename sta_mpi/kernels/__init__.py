"""sta_mpi.kernels"""
