"""Statistics of counts and samples: bootstrap over documents, permutations, nulls, information, loads."""
