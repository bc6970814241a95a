"""Kibana on the indices of the cluster mode: data views, saved searches and a dashboard."""
