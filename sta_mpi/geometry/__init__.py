"""sta_mpi.geometry"""
