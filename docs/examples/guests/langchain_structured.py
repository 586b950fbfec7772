"""Get the answer as an instance of your own class."""

from pydantic import BaseModel, Field

from llama_dashscope.langchain import ChatLlamaDashScope


class Trip(BaseModel):
    """A trip that somebody wants to make."""

    city: str = Field(description="Where to")
    days: int = Field(description="How many days")


model = ChatLlamaDashScope(model="llama3.3-70b-instruct", temperature=0)
print(model.with_structured_output(Trip).invoke("我想去杭州玩三天"))
