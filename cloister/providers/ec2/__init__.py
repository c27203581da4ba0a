"""Nodes that are EC2 instances; boto3 lives here alone."""
