"""What is counted of records: mergeable sufficient statistics, how they are kept, and the kernels that count."""
